"""How Flower is told its secrets: it runs this file at its start, so that neither has to be in its environment."""

from tasks.environment import load

#: As FLOWER_BASIC_AUTH would be read: several users stand between commas.
basic_auth = load().flower_basic_auth.split(",")
#: Made by `fleetcast flower`, which becomes Flower.
cookie_secret = (load().flower_folder / "cookie-secret").read_text()
