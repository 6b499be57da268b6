# PyTorch, trimmed, which several images have: unpacked once for all that an engine builds after one another.
FROM tools AS torch
COPY install.sh torch /torch/
RUN /torch/install.sh /torch /torch/trim.txt torch,numpy
# The other Python packages, trimmed; MODULES are what has to import in the end.
FROM torch AS wheels
ARG MODULES
COPY install.sh trim.txt wheels /wheels/
RUN /wheels/install.sh /wheels /wheels/trim.txt "$MODULES"
