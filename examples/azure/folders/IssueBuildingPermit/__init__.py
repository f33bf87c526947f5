def main(application: str) -> str:
    return f"Building permit for {application}"
