"""Commands with which a person sees and operates the site, through the gateway as the application Operator."""
