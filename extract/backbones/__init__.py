"""The networks of stage one: what is registered, how it is built, where its weights come from."""
