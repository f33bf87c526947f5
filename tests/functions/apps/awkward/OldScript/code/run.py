from __app__.Good import main as other

def go(req, context): return f"{context.function_name} in {context.function_directory.rsplit(chr(47), 1)[-1]}"
