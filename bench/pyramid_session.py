# The session of real Pyramid, without a server. It reads lines from stdin and writes lines to stdout. All
# lines are JSON.
#   {"read": cookie value}  ->  the dictionary of the session, or null if the session is new
#   {"write": dictionary}   ->  the cookie value of a session with this dictionary
import json
import sys

from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory

factory = SignedCookieSessionFactory(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    if 'read' in asked:
        session = factory(Request.blank('/', headers={'Cookie': 'session=' + asked['read']}))
        answer = None if session.new else dict(dict.items(session))
    else:
        request = Request.blank('/')
        factory(request).update(asked['write'])
        response = Response()
        request._process_response_callbacks(response)
        answer = response.headers['Set-Cookie'].split(';')[0].split('=', 1)[1]
    print(json.dumps(answer), flush=True)
