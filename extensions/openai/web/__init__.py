"""Between the server and the endpoints: routes, one request's way, answers, streams, the application."""
