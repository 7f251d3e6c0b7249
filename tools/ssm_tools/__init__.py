"""Notes, links, graph, snippets and site of the knowledge base. Reads code by path, imports none."""
