# The Python packages, trimmed; MODULES are what has to import in the end.
FROM tools AS wheels
ARG MODULES
COPY wheels /wheels
COPY install.sh trim.txt /
RUN /install.sh /wheels /trim.txt "$MODULES"
