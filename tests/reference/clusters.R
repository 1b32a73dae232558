# Compute the golden numbers of clustered errors with clubSandwich, the package of the
# authors of CR2 as it is used here (Pustejovsky and Tipton, J. Bus. Econ. Stat. 36,
# 2018, 672). The data are formulas, so that a test makes them anew.
#
#     Rscript tests/reference/clusters.R > tests/reference/clusters.json
#
# Last run with R 4.2.2 and clubSandwich 0.5.8.

library(clubSandwich)

numbers <- function(model, cluster, coefs) {
  found <- coef_test(model, vcov = "CR2", cluster = cluster, test = "Satterthwaite")
  # The name of this column changed between versions.
  df <- if ("df_Satt" %in% names(found)) found$df_Satt else found$df
  line <- function(values) paste(sprintf("%.12g", values), collapse = ", ")
  sprintf(
    '{"coef": [%s], "std_err": [%s], "df": [%s]}',
    line(coef(model)[coefs]), line(found$SE[coefs]), line(df[coefs])
  )
}

# Of the tests of dfadjust, whose numbers of this kind agree with Stata's.
y <- c(cos(0:9), tan(1:10))
x <- c(sin(1:10), sin(2:11))
three <- rep(c(2, 1, 3, 2, 2, 3, 3, 1, 1, 2), 2)
waves <- lm(y ~ x)

t <- 1:100
x5 <- sin(t)
five <- rep(1:5, c(40, 20, 20, 10, 10))
parabola <- lm(t ~ x5 + I(x5^2))

# The example in the vignette of dfadjust: three treated clusters among eleven.
eleven <- rep(1:11, c(rep(50, 10), 500))
treated <- as.numeric(eleven <= 3)
z <- cos(1:1000) + eleven / 10
vignette <- lm(z ~ treated)

# A height for each cluster: absorbing it leaves CR2 as it is.
v <- sin(1:1000)
heights <- lm(z ~ 0 + v + factor(eleven))

cat(sprintf(
  paste0(
    '{\n  "singletons": %s,\n  "waves": %s,\n  "parabola": %s,\n',
    '  "vignette": %s,\n  "heights": %s\n}\n'
  ),
  numbers(waves, seq_along(y), 1:2), numbers(waves, three, 1:2),
  numbers(parabola, five, 1:3), numbers(vignette, eleven, 1:2),
  numbers(heights, eleven, 1)
))
