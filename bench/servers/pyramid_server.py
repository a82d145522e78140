# The original, on its own server: Pyramid with its signed session, behind waitress.
import os
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from waitress import serve

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quick Tutorial: Home View</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>Hi Home View</h1>
<p>Count: %d</p>
</main>
</body>
</html>
"""


def home(request):
    session = request.session
    session['counter'] = session.get('counter', 0) + 1
    return Response(PAGE % session['counter'])


with Configurator(session_factory=SignedCookieSessionFactory('a secret of thirty-two characters')) as config:
    config.add_route('home', '/')
    config.add_view(home, route_name='home')
    serve(config.make_wsgi_app(), host='127.0.0.1', port=int(os.environ['PORT']))
