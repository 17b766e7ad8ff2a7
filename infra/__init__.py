"""What the product needs around it: the development server, images, the demo study."""
