"""What a person sees: tables, and later charts and pages."""
