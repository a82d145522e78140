# The original on its usual server: Pyramid with its signed session, behind waitress.
import json
import logging
import os
from pathlib import Path
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from waitress import serve

PAGE = Path(__file__).with_name('page.html').read_text()
HEADERS = json.loads(Path(__file__).with_name('headers.json').read_text())
SECRET = 'this secret has 32 characters...'
# No server of this bench writes a log. Waitress would warn about each request that waits.
logging.getLogger('waitress.queue').setLevel(logging.ERROR)


def home(request):
    session = request.session
    session['counter'] = session.get('counter', 0) + 1
    response = Response(PAGE.replace('{count}', str(session['counter'])))
    response.headers.update(HEADERS)
    return response


factory = SignedCookieSessionFactory(SECRET, httponly=True, samesite='Lax')
with Configurator(session_factory=factory) as config:
    config.add_route('home', '/')
    config.add_view(home, route_name='home')
    serve(config.make_wsgi_app(), host='127.0.0.1', port=int(os.environ['PORT']))
