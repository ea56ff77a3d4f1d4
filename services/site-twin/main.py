from site_twin.app import create_app

app = create_app()
