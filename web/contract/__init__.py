"""The API as a document: OpenAPI 3.1, made from the routes, the models and the error registry."""
