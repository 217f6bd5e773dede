"""The client side: one implementation, on which every program and every end-to-end test stands."""
