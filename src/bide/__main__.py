from bide.cli import main

main()
