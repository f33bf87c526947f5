def number(application_id):
    return f"B-{application_id}"
