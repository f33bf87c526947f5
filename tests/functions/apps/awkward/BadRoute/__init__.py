import azure.functions as func


def main(req, res: func.Out[func.HttpResponse]):
    res.set(func.HttpResponse("fine"))
