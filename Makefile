# Every target is one line over scripts/dev.py, which sets up what it needs; without make: python scripts/dev.py TARGET
PYTHON := $(shell command -v python3 >/dev/null 2>&1 && echo python3 || echo uv run --no-project python)
TARGETS := install demo simulate run up down devices kill revive operate prove assistant tools-approve verify-wso2 test test-long test-all check bench lock clean help

# Handed over in the environment and as it was typed: a reason may hold quotes, and a $ is no variable in it.
ifdef REASON
override REASON := $(value REASON)
export REASON
endif

.DEFAULT_GOAL := help
.PHONY: $(TARGETS)

$(TARGETS):
	@$(PYTHON) scripts/dev.py $@ $(ARGS)
