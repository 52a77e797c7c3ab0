"""The Grafana dashboards of psapwatch as code; ``python -m psapwatch_dashboards`` writes them."""
