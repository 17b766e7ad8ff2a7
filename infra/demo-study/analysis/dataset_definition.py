"""Registered adults on 1 April 2023, and whether they were admitted to hospital in the year after."""

from ehrql import codelist_from_csv, create_dataset
from ehrql.tables.tpp import (
    addresses,
    apcs,
    clinical_events,
    ons_deaths,
    patients,
    practice_registrations,
)

start = "2023-04-01"
end = "2024-03-31"

diabetes_codes = codelist_from_csv("codelists/demo-diabetes.csv", column="code")

registration = practice_registrations.for_patient_on(start)
age = patients.age_on(start)
before = clinical_events.where(clinical_events.date.is_before(start))

dataset = create_dataset()
dataset.configure_dummy_data(population_size=5000)
dataset.define_population(
    registration.exists_for_patient()
    & (age >= 18)
    & (age <= 100)
    & patients.sex.is_in(["female", "male"])
)

dataset.age = age
dataset.sex = patients.sex
dataset.imd_quintile = addresses.for_patient_on(start).imd_quintile
dataset.has_diabetes = before.where(before.snomedct_code.is_in(diabetes_codes)).exists_for_patient()
dataset.systolic_bp = (
    before.where(before.snomedct_code == "271649006").sort_by(before.date).last_for_patient()
).numeric_value
dataset.admitted = apcs.where(apcs.admission_date.is_on_or_between(start, end)).exists_for_patient()
dataset.died = ons_deaths.date.is_on_or_between(start, end)
