# The Python packages, trimmed; MODULES are what has to import in the end.
FROM tools AS wheels
ARG MODULES
COPY install.sh trim.txt wheels /wheels/
RUN /wheels/install.sh /wheels /wheels/trim.txt "$MODULES"
