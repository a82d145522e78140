# The original, on its own server: Pyramid with its signed session, behind waitress.
import os
from pathlib import Path
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from waitress import serve

PAGE = Path(__file__).with_name('page.html').read_text()


def home(request):
    session = request.session
    session['counter'] = session.get('counter', 0) + 1
    return Response(PAGE.replace('{count}', str(session['counter'])))


with Configurator(session_factory=SignedCookieSessionFactory('a secret of thirty-two characters')) as config:
    config.add_route('home', '/')
    config.add_view(home, route_name='home')
    serve(config.make_wsgi_app(), host='127.0.0.1', port=int(os.environ['PORT']))
