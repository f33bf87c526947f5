from ..shared.permits import number


def main(applicationId: str) -> str:
    return f"permit {number(applicationId)}"
