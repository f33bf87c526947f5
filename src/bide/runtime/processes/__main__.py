"""What a worker process runs; its argument is the number of its socket."""

import socket
import sys

from bide.runtime.processes.worker import work

if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])))
