"""Operating the product: command line, embedded servers, demo."""
