def main(req, sms):
    sms.set("hello")
    return "sent"
