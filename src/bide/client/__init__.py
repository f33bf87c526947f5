"""What an application, an operator or another service asks of a hub: the same verbs in process and over HTTP."""
