"""Between the server and the endpoints: the application, the way of a request, routes, responses."""
