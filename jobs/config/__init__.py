"""What a deployment sets: places, tunable parameters, rules of the shop, and the calendar of earlier days that teach.

Reads configuration files and the environment. Writes nothing. Every other room receives its values.
"""
