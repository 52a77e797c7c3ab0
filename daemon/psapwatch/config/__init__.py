"""The configuration: files in, a frozen ``shape.Config`` out (``load.load``), or every error."""
