"""A site that misbehaves at random, watched from outside: `python -m tests.safety --seed 7 --minutes 60`."""
