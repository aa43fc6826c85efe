from cosweep.cli.commands import app

app()
