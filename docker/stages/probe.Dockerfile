# The health check of every server.
FROM tools AS probe
COPY healthcheck/tandem-probe.c /
RUN gcc -Os -static -s -o /tandem-probe /tandem-probe.c
