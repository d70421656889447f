"""What leaves the shop by itself: events to webhooks and to Stripe."""
