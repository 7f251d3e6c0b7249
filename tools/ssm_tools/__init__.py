"""Notes, links, graph, snippets and site of the knowledge base; reads code by path only."""
