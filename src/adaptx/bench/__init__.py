"""What each method buys, and for how much: measurements in processes of their own, their records, and a report."""
