"""The window: the only folder that knows pygame. Nothing is imported here, so naming the package stays cheap."""
