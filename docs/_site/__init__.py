"""What the site is made of besides the pages: pages of verbs, the reference, figures, links."""
