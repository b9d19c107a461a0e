"""Images as cameras see them in bad weather, out of focus and in noise: published corruptions at five severities."""
