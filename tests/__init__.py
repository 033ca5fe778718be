"""A package, so that tests find `bench`, `scripts` and each other from the project's folder."""
