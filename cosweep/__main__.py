from cosweep.cli import app

app()
