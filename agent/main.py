from charging_agent.app import create_app

app = create_app()
