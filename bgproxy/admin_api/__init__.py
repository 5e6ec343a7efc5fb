"""The HTTP interface of operators, pipelines and screens."""
