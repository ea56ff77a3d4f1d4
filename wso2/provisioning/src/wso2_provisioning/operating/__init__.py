"""What a person orders of the site, and sees of it, through the gateway as the application Operator."""
