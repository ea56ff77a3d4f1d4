from solar_service.app import create_app

app = create_app()
