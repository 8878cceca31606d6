# A user with a table and a drawing, and no Python: what can be learnt, the effect, a letter.
pyromix check data.csv --model drawing.bif -k 2 --treatment X --outcome Y
pyromix fit data.csv --model drawing.bif -k 2 --n-init 2 --checkpoint fit.checkpoint -o fit.pyromix
pyromix effect fit.pyromix --treatment X --outcome Y --bootstrap 50 --json
pyromix report fit.pyromix --treatment X --outcome Y --no-sensitivity -o letter.html
pyromix lca data.csv -k 1..2 --n-init 2 --distal Y
