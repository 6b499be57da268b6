# One model baked in: all that differs between the images of a server, so that what is above is built once for them all.
FROM runtime
ARG MODEL
ENV MODEL_NAME=${MODEL}
# /etc/tandem/server holds the settings, /etc/tandem/health the question that the health check asks.
COPY etc /etc/tandem
COPY models /models
