# The stages that every image of ours begins with, so that an engine builds and keeps them once. `tandem images` puts
# them before docker/KEY/Dockerfile and assembles the build context; nothing needs BuildKit, and only apt a network.
ARG TFSERVING_BASE=tensorflow/serving:2.21.0
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
# The base that is made where nothing can be pulled has it already.
RUN command -v python3 > /dev/null || { apt-get update -q \
    && apt-get install -q -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*; }

FROM python AS tools
LABEL io.tandem.builder=yes
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
