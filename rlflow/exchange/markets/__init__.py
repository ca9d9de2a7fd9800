"""What is listed and how it lives: data sheets, series on a schedule, lifecycles, and what is published of them."""
